"""Build the page and launch it.

``python app.py`` serves it at http://127.0.0.1:7860. Gradio's own variables choose another
place: ``GRADIO_SERVER_NAME``, ``GRADIO_SERVER_PORT``, ``GRADIO_ROOT_PATH``.
"""

from __future__ import annotations

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

from visualize import page  # noqa: E402  (Gradio reads the variable when it is imported)

demo = page.build()
demo.queue(max_size=64, default_concurrency_limit=4)


def main() -> None:
    """Serve the page until it is stopped."""
    demo.launch(
        theme=page.theme(),
        css_paths=page.CSS,
        head=page.head(),
        footer_links=["api"],
        run_history=False,
        enable_monitoring=False,
        max_file_size="1mb",
        state_session_capacity=200,
        ssr_mode=False,
        show_error=True,
    )


if __name__ == "__main__":
    main()
