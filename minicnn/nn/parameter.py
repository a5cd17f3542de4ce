"""What an optimiser trains: an array and its gradient."""

from minicnn.backend import Array


class Parameter:
    """A trained array and its gradient.  `grad` is None until backward; two backwards add."""

    def __init__(self, data: Array, requires_grad: bool = True):
        self.data, self.grad, self.requires_grad = data, None, requires_grad

    data: Array
    grad: Array | None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of `data`."""
        return self.data.shape

    def accumulate(self, grad: Array | None) -> None:
        """Add to `grad`, unless the parameter is frozen."""
        if self.requires_grad and grad is not None:
            self.grad = grad if self.grad is None else self.grad + grad

    def __repr__(self) -> str:
        return f"Parameter({self.data.dtype} {self.data.shape}{'' if self.requires_grad else ', frozen'})"
