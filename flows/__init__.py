"""The flows: wiring only. Each reads like the README."""
