"""A real S3 server on this machine's loopback, as a fixture; what needs it skips where its packages are absent."""

import pytest

from mse_pipeline.extraction.supervisor import dismiss


@pytest.fixture(scope="session")
def s3_server():
    """Address of the server."""
    pytest.importorskip("s3fs", reason="needs s3fs: pip install 'mse-pipeline[dev]'")
    pytest.importorskip("flask", reason="needs moto's server: pip install 'mse-pipeline[dev]'")
    server = pytest.importorskip("moto.server", reason="needs moto's server: pip install 'mse-pipeline[dev]'")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def s3_cache(s3_server, tmp_path, monkeypatch, request):
    """URL of an empty cache in a bucket of its own; reached through the environment, as a user's own server is."""
    import boto3
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("MSE_LOCAL_CACHE", str(tmp_path / "copies"))
    s3fs.S3FileSystem.clear_instance_cache()
    dismiss(all_of_them=True)  # hosts that know no server, or another one
    bucket = f"test-{abs(hash(request.node.nodeid)):x}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    yield f"s3://{bucket}/team/cache"
    s3fs.S3FileSystem.clear_instance_cache()
