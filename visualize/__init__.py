"""Arrays to pictures, films and the page that shows them."""
