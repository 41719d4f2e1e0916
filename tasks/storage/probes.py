"""Is this store one that the commits can be trusted to? Asked once, before any work."""

import secrets

from pumascale.tasks.storage import urls
from pumascale.tasks.storage.errors import InputError


def check_workspace(workspace: str) -> None:
    """Refuse a workspace that cannot be written, or whose store ignores create-only writes.

    Some S3 servers accept ``If-None-Match: *`` and overwrite all the same: two runs would then both believe to have won.
    """
    probe = urls.join(workspace, "scratch", f"probe-{secrets.token_hex(6)}")
    try:
        honoured = urls.create_bytes(probe, b"1") and not urls.create_bytes(probe, b"2")
    except (OSError, urls.CredentialsError) as error:
        raise InputError(
            f"The workspace {workspace} cannot be written: {type(error).__name__}: {error}. "
            "Expected a writable folder or bucket: check the path, the credentials and the endpoint."
        ) from None
    urls.remove_object(probe)
    if not honoured:
        raise InputError(
            f"The store of {workspace} ignores create-only writes (If-None-Match). "
            "Expected a store that honours them, such as AWS S3, Ceph or a local disk: use another one."
        )
