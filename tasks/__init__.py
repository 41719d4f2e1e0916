"""The doors (Prefect tasks) and, in folders, their rooms."""
