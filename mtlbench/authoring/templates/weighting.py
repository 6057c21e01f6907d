"""Every task's gradient counts with the mean length of all."""


class Template:
    """How much each task counts in a step."""

    version = 1  # raise it when you change what is computed: older results then stay apart

    # Options have defaults; others by: --weighting 'template.py:Template(power=0.5)'
    def __init__(self, power=1.0):
        self.power = power

    # Products of the tasks' gradients with each other, T x T, to the weights of their sum, T. Instead of this method a
    # weighting may have aggregate(self, gradients), T x P to P, or combine(self, losses), {task: loss} to one number.
    def weights(self, gramian):
        lengths = gramian.diagonal().sqrt()
        return (lengths.mean() / lengths) ** self.power
