"""Shared up to pool5, then columns of their own that give each other a learned share after fc6."""

import torch
from torch import nn


class Template:
    """Who shares a stage's weights, and what mixes the activations after it."""

    version = 1  # raise it when you change what is computed: older results then stay apart

    # Options have defaults; others by: --scheme 'template.py:Template(start=0.5)'
    def __init__(self, start=0.1):
        self.start = start

    # Which tasks share the weights of this stage (conv1, pool1 .. fc6, fc7): a list of groups, which may split further
    # on, but not merge again. Here all are together before fc6, and each is alone from there on.
    def groups(self, stage, tasks):
        return [tasks] if stage.before("fc6") else [(task,) for task in tasks]

    # What mixes the tasks' features after this stage: a torch module, or None.
    def unit(self, stage, tasks):
        return Shares(tasks, self.start) if stage.name == "fc6" else None


class Shares(nn.Module):
    """Each task adds a share of the other tasks' features; the shares are learned."""

    lr_multiplier = 10.0  # of its parameters, over the network's learning rate

    def __init__(self, tasks, start):
        super().__init__()
        self.shares = nn.ParameterDict({task: nn.Parameter(torch.tensor(start)) for task in tasks})

    # {task: features} in, the same tasks and shapes out; features are B C H W, or R C in form `roi`.
    def forward(self, xs):
        everything = sum(xs.values())
        return {task: x + self.shares[task] * (everything - x) for task, x in xs.items()}
