"""Room: partitions, kNN, fuzzy simplicial set, edges."""
