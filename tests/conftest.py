"""What every layer shares: one thread per worker, so that two workers do not fight for two cores."""

import torch

torch.set_num_threads(1)
