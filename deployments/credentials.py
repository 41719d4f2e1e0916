"""The store's keys from a Prefect block, for every run of a work pool, in place of keys on its worker machines.

`python deployments/credentials.py BLOCK --pool NAME` with PREFECT_API_URL set; again with another block to change it.
BLOCK is an `aws-credentials/name` of prefect-aws, which the workers need not have, or a `secret/name` of Prefect's own
whose value is {"aws_access_key_id": ..., "aws_secret_access_key": ...}.

The pool holds the block's name. A worker asks for its values when it starts a run, whose environment has them then as
AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; so have the Dask workers that the run starts.
"""

import argparse
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolUpdate
from prefect.exceptions import ObjectNotFound

KEYS = ("aws_access_key_id", "aws_secret_access_key")


def main() -> None:
    """Name the block in the pool."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("block", help="type/name of the block, as `prefect block ls` lists it")
    parser.add_argument("--pool", default="pumascale-cpu", help="the work pool whose runs get the keys")
    arguments = parser.parse_args()
    kind, _, name = arguments.block.partition("/")
    with get_client(sync_client=True) as client:
        try:
            client.read_block_document_by_name(name, kind, include_secrets=False)
            template = client.read_work_pool(arguments.pool).base_job_template
        except ObjectNotFound:
            raise SystemExit(
                f"No block {arguments.block!r} or no work pool {arguments.pool!r}. Expected type/name of a block that "
                "`prefect block ls` lists and a pool of `prefect work-pool ls`."
            ) from None
        with_keys(template, kind, name)
        client.update_work_pool(arguments.pool, WorkPoolUpdate(base_job_template=template))
    print(f"{arguments.pool}: the runs get their keys from {arguments.block}")


def with_keys(template: dict[str, Any], kind: str, name: str) -> None:
    """Add references to the block's keys to the environment that the runs of a pool start with."""
    variable = template["variables"]["properties"]["env"]
    references = {key.upper(): f"{{{{ prefect.blocks.{kind}.{name}.{key} }}}}" for key in KEYS}
    variable["default"] = (variable.get("default") or {}) | references


if __name__ == "__main__":
    main()
