"""How long each bed is watered, in minutes a day."""

MINUTES = {"tomatoes": 20, "beans": 10, "herbs": 3}


def plan(dry_days: int) -> dict[str, float]:
    """Minutes for each bed after so many days without rain."""
    return {bed: minutes * (1 + dry_days / 10) for bed, minutes in MINUTES.items()}


if __name__ == "__main__":
    print(plan(3))
