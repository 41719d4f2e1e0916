def test_x(s3):
    import fsspec
    from pumascale.tasks.storage import urls
    assert urls.create_bytes(s3 + "/a/b", b"1")
    assert not urls.create_bytes(s3 + "/a/b", b"2")
    print(urls.list_objects(s3))
