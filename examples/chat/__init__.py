"""The chat of the tutorial. `python -m examples.chat` serves it."""
