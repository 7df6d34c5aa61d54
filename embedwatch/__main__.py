"""`python -m embedwatch`: the same as the `embedwatch` script, where that is not on PATH."""

from embedwatch.cli import main

if __name__ == "__main__":
    main()
