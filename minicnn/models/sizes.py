"""Hidden sizes, made wider or narrower together."""


def scaled(width: float, *sizes: int) -> list[int]:
    """Each size times width, rounded, at least 1; ValueError unless width is above 0."""
    if not width > 0:
        raise ValueError(f"width is {width}, wanted a number above 0")
    return [max(1, round(width * size)) for size in sizes]
