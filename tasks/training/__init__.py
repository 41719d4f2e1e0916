"""Room: networks, objective, sampling, the Keras model, its artefact."""
