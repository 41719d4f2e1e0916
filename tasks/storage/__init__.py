"""Ground floor: URLs, Zarr arrays, manifests, fingerprints and the stores' schemas. Knows no task and no scheduler."""
