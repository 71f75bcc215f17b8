"""Which noise: tables of betas, where the steps go, how flows are shifted."""
