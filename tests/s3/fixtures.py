"""Fixtures around the S3 server: the server, a bucket per test, and a proxy that injects faults in front of it."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import boto3
import pytest
from s3fs import S3FileSystem

from tests.s3 import server
from tests.s3.proxy import Proxy


@contextmanager
def changed_environment(values: dict[str, str]) -> Iterator[None]:
    """Environment variables for a while; s3fs's instances, which remember the old ones, are dropped on both edges."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    S3FileSystem.clear_instance_cache()
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Endpoint of the S3 server, named by the environment too, so that Dask's workers use it as well."""
    try:
        with server.running() as endpoint, changed_environment(server.environment(endpoint)):
            yield endpoint
    except FileNotFoundError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture
def s3(s3_server: str) -> str:
    """URL of a new bucket on the S3 server."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    boto3.client("s3", endpoint_url=s3_server).create_bucket(Bucket=name)
    return f"s3://{name}"


@pytest.fixture
def proxy(s3_server: str) -> Iterator[Proxy]:
    """A proxy in front of the S3 server, which the environment now names instead of the server."""
    running = Proxy(s3_server)
    with changed_environment({"AWS_ENDPOINT_URL_S3": running.endpoint}):
        yield running
    running.close()
