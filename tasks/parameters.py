"""The parameters of the pipeline: a pydantic group per stage, shared by doors, rooms, manifests and the form in the UI.

Every default, bound and help text has its one home here. Names and defaults are umap-learn's where it has one.
Groups are top-level flow parameters: Prefect merges a run's parameters over a deployment's per top-level key only.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveInt

from pumascale.tasks.storage import urls
from pumascale.tasks.storage.errors import InputError

MANY_ROWS = 2**22  # four shards of a map or more
BYTES = r"^\d+(\.\d+)? ?[kKMGT]?i?B$"
MOST_SEED = 2**32 - 1  # that NumPy and Keras take


def _field(default: Any, help: str, **bounds: Any) -> Any:
    return Field(default, description=help, **bounds)


def _absolute(url: str) -> str:
    """As `urls.absolute`; one with a secret is refused where it is used, since pydantic would say it again."""
    try:
        return urls.absolute(url)
    except InputError:
        return url


def _absolute_file(spec: str | dict[str, Any]) -> str | dict[str, Any]:
    return _absolute(spec) if isinstance(spec, str) and spec.endswith(".keras") else spec


# Parameters are kept with a model, and a nightly update may retrain it from another folder.
URL = Annotated[str, AfterValidator(_absolute)]
Network = Annotated[str | dict[str, Any], AfterValidator(_absolute_file)]


class Group(BaseModel):
    """A group of parameters: unknown names are refused, values are frozen, the form keeps the order written here."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        # Prefect's form sorts by name unless each field carries its position.
        for position, field in enumerate(cls.model_fields.values()):
            field.json_schema_extra = {"position": position}
        cls.model_rebuild(force=True)


class GraphParameters(Group):
    """The fuzzy neighbour graph (task build_graph)."""

    n_neighbors: int = _field(15, "Neighbours per row, the row itself included (umap-learn's meaning).", ge=2, le=1000)
    metric: str = _field(
        "euclidean", "A dense metric of pynndescent that ranks rows: euclidean, cosine, manhattan, hamming, ..."
    )
    metric_kwds: dict[str, float] = _field({}, "Arguments of the metric, in its own order, such as {'p': 3}.")
    set_op_mix_ratio: float = _field(1.0, "Fuzzy union (1) to fuzzy intersection (0).", ge=0, le=1)
    local_connectivity: float = _field(1.0, "Neighbours assumed to be connected at full strength.", ge=0)
    disconnection_distance: float | None = _field(
        None, "Distances from here on make no edge; None: the metric's bound."
    )
    angular_rp_forest: bool = _field(False, "Angular random projection trees in pynndescent.")
    non_finite: Literal["error", "skip"] = _field(
        "error", "Rows with NaN or inf: stop, or leave them without edges (see also embedding.non_finite)."
    )
    unique: bool = _field(False, "Of equal rows only the first is in the graph; all get its place in the map.")
    isolated: Literal["warn", "error"] = _field("warn", "Rows left without any edge: name them and go on, or stop.")
    labels: URL | None = _field(
        None,
        "URL of one label per row that shape the graph (supervised UMAP); -1, NaN: not known. None: unsupervised.",
    )
    target_metric: str = _field(
        "categorical", "'categorical', or the metric of continuous labels: euclidean, manhattan, ..."
    )
    target_n_neighbors: int = _field(
        -1, "Neighbours in the graph of continuous labels; -1: as many as n_neighbors.", ge=-1, le=1000
    )
    target_weight: float = _field(0.5, "From the rows alone (0) to the labels above all (1).", ge=0, le=1)
    random_state: int = _field(
        42, "Seed: the same seed and partitions give the same graph, on any number of workers.", ge=0, le=MOST_SEED
    )
    precomputed_knn: URL | None = _field(None, "URL of a Zarr group with 'indices' and 'distances' to use instead.")
    n_partitions: int | None = _field(None, "Partitions of the rows; None: as many as partition_rows asks for.", ge=1)
    partition_rows: int | None = _field(None, "Most rows per partition; None: small ones, or as fits a worker.", ge=64)
    overlap: int = _field(3, "Most partitions that a row joins: one inside, more at borders.", ge=1, le=8)
    target_recall: float = _field(0.95, "Measured kNN recall that the repair passes aim for.", gt=0, le=1)
    repair_passes: int = _field(3, "At most this many repair passes to reach target_recall.", ge=0)
    recall_sample: int = _field(1000, "Rows whose exact neighbours are computed to measure the recall.", ge=10)


class TrainingParameters(Group):
    """The encoder and its training (task train_encoder)."""

    n_components: int = _field(2, "Dimensions of the map.", ge=1, le=512)
    encoder: Network = _field(
        "prototypes",
        "'prototypes', 'mlp' (ParametricUMAP's), 'package.module:function' called with the row shape and n_components, "
        "the URL of a .keras file, or a Keras model's JSON config.",
    )
    decoder: Network = _field("mlp", "As encoder; used with parametric_reconstruction.")
    n_prototypes: int | None = _field(
        None, "Rows that the 'prototypes' encoder attends to; None: a quarter, from 1,024 to 8,192.", ge=2
    )
    hidden_units: list[PositiveInt] = _field([100, 100, 100], "Widths of the 'mlp' encoder's and decoder's layers.")
    min_dist: float = _field(0.1, "Smallest distance between points in the map.", ge=0)
    spread: float = _field(1.0, "Scale of the embedded points.", gt=0)
    a: float | None = _field(None, "Curve parameter; None: fitted from min_dist and spread.", gt=0)
    b: float | None = _field(None, "Curve parameter; None: fitted from min_dist and spread.", gt=0)
    kernel: Literal["umap", "umap-learn"] = _field(
        "umap-learn",
        "1/(1 + a d^2b), or what ParametricUMAP optimises. The layout of 'prototypes' is UMAP's own: only its reported "
        "losses follow this.",
    )
    batch_size: int = _field(1000, "Edges per step.", ge=2)
    n_epochs: int | None = _field(
        None, "Most times that an edge is drawn; None: 500 up to 10,000 rows, else 200.", ge=1
    )
    n_training_epochs: int | None = _field(
        None,
        "Passes over the edges of n_epochs, as in ParametricUMAP; None: 1, or 0 for 'prototypes', which are laid out.",
        ge=0,
    )
    loss_report_frequency: int = _field(
        20, "Loss reports (and validations) per training epoch; often, since early stopping waits for them.", ge=1
    )
    negative_sample_rate: int = _field(5, "Repelled pairs per edge.", ge=1)
    repulsion_strength: float = _field(1.0, "Weight of the repulsion.", ge=0)
    optimizer: str | dict[str, Any] | None = _field(
        None,
        "A Keras optimizer by name, config (schedules included) or 'package.module:function'; "
        "None: Adam with clipvalue 4.",
    )
    learning_rate: float | None = _field(
        None,
        "Of the default optimizer (None: 0.001, or 0.1 without parametric_embedding); of the layout of 'prototypes' "
        "where there is one, as in umap-learn (None: 1).",
        gt=0,
    )
    dtype_policy: Literal["float32", "mixed_bfloat16"] = _field(
        "float32", "What the networks compute in; the map and the loss are float32 in any case."
    )
    validation_split: float = _field(
        0.1, "Share of rows kept out of training (at most 20,000 rows) for val_loss.", ge=0, lt=1
    )
    patience: int = _field(
        3, "Reports without a better value before training by gradients (or of a decoder alone) stops.", ge=1
    )
    monitor: str = _field(
        "val_loss", "The value that early stopping watches: loss, or any term of it, with val_ for held-out rows."
    )
    early_stopping: bool = _field(
        True,
        "Stop training by gradients when 'monitor' no longer improves, and keep the best weights. A layout runs all of "
        "its epochs and keeps its last places.",
    )
    callbacks: list[str | dict[str, Any]] = _field(
        [], "Keras callbacks, as {'class_name': ..., 'config': {...}} or 'package.module:Class'."
    )
    csv_log: URL | None = _field(None, "URL of a CSV file for the losses of every report.")
    tensorboard_log: URL | None = _field(None, "URL of a folder for TensorBoard's logs.")
    parametric_reconstruction: bool = _field(False, "Train a decoder too, for inverse_transform.")
    parametric_reconstruction_loss_fcn: str | dict[str, Any] = _field(
        "mean_squared_error",
        "A Keras loss by name, config or 'package.module:function'. ParametricUMAP's binary cross-entropy needs rows "
        "within [0, 1]: {'class_name': 'BinaryCrossentropy', 'config': {'from_logits': true}}.",
    )
    parametric_reconstruction_loss_weight: float = _field(
        1.0, "Weight of the reconstruction beside UMAP's terms; no matter to a decoder that is trained alone.", ge=0
    )
    autoencoder_loss: bool = _field(False, "Let the reconstruction's gradient reach the encoder.")
    reconstruction_validation: URL | None = _field(
        None, "URL of an array of rows whose reconstruction loss is reported as 'reconstruction_validation'."
    )
    global_correlation_loss_weight: float = _field(
        0.0, "Weight of the correlation between distances of rows and of their places.", ge=0
    )
    landmark_positions: URL | None = _field(
        None, "URL of an array (n_rows, n_components): rows held at given places; NaN leaves a row free."
    )
    landmark_loss_fn: str | None = _field(
        None, "'package.module:function' of (wanted, placed) for the landmarks; None: the mean distance."
    )
    landmark_loss_weight: float = _field(1.0, "Weight of the landmark loss.", ge=0)
    parametric_embedding: bool = _field(
        True, "False: learn the place of each row instead of a network, by the same objective."
    )
    warm_start: URL | None = _field(None, "URL of a trained model whose networks are trained on.")
    memory_limit: str | None = _field(
        None,
        "Memory for the rows and edges of training by gradients, such as '4GB'; what is larger is streamed, from a "
        "file in TMPDIR of some four times the rows. None: half of this machine's.",
        pattern=BYTES,
    )
    checkpoint_minutes: float = _field(5.0, "Minutes between checkpoints, from which a killed run goes on.", ge=0)
    random_state: int = _field(42, "Seed of weights, sampling and held-out rows.", ge=0, le=MOST_SEED)


class EmbeddingParameters(Group):
    """Placing rows with a trained encoder (task write_embedding)."""

    batch_size: int = _field(1024, "Rows per forward pass.", ge=1)
    texts: URL | None = _field(None, "URL of a Zarr array of strings, one per row, that the report shows on hover.")
    non_finite: Literal["error", "nan"] = _field("error", "Rows with NaN or inf: stop, or give them NaN coordinates.")
    keep_versions: int | None = _field(
        None, "Versions of the target that stay when a new one is committed, the newest ones; None: all.", ge=1
    )

    def of_the_result(self) -> dict[str, Any]:
        """Those that change what is written, and so its place."""
        return self.model_dump(exclude={"keep_versions"})


class ComputeParameters(Group):
    """Where the work of the graph runs (Dask)."""

    scheduler_address: str | None = _field(
        None, "An existing Dask scheduler, such as tcp://host:8786; None: a local cluster."
    )
    n_workers: int | None = _field(None, "Worker processes of the local cluster; None: from the machine.", ge=1)
    memory_limit: str | None = _field(
        None, "Memory per worker, such as '4GB'; None: the machine's, shared out.", pattern=BYTES
    )
    cluster_class: str | None = _field(
        None, "Any Dask cluster class, 'package.module:Class', instead of a local cluster."
    )
    cluster_kwargs: dict[str, Any] = _field({}, "Keyword arguments of cluster_class.")
    adapt: dict[str, Any] | None = _field(
        None, "Adaptive bounds of cluster_class, such as {'minimum': 1, 'maximum': 20}."
    )
    performance_report: bool = _field(
        False, "Dask's performance report of a graph that is built: dask-report.html beside it. Extra: bokeh."
    )

    def for_placing(self, n_rows: int) -> "ComputeParameters | None":
        """What places `n_rows` rows after another stage: a cluster that is named here, if there are many; else None.

        This process is ready for it, where every worker would load the network first.
        """
        is_cluster = self.scheduler_address is not None or self.cluster_class is not None
        return self if is_cluster and n_rows >= MANY_ROWS else None
