"""What each column is to the model (`roles`), how it becomes numbers, and what does not fit."""
