"""Room: the Dask client, bounded in-flight maps, worker logs."""
