"""HTTP: one path for every dialect. No field of any wire is known here."""
