"""Room: sampled recall, trustworthiness, label agreement, drift."""
