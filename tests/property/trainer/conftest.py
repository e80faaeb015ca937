import torch

torch.set_num_threads(1)  # the matrices are small, and other tests share the cores
