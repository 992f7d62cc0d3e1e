"""One package per wire; each can be deleted without touching another."""
