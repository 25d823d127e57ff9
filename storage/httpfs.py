"""DuckDB's part of an object store: one secret, for the tables of one workspace."""

import duckdb

from storage.access import access

# The extension copies the environment's credentials into settings that any query may read.
COPIED = ("s3_access_key_id", "s3_secret_access_key", "s3_session_token", "s3_endpoint")
RETRIES = 6
BACKOFF = 2


def open_store(connection: duckdb.DuckDBPyConnection, url: str) -> None:
    """Lets a connection read and write below `url`, and nothing else of the store.

    Args:
        connection: to open it for; it has loaded the extension `httpfs`.
        url: `s3://bucket/prefix/tables/`.

    Raises StoreDenied without credentials.
    """
    known = access()
    for name in COPIED:
        connection.execute(f"RESET {name}")
    connection.execute(f"SET http_retries = {RETRIES}")
    connection.execute(f"SET http_retry_backoff = {BACKOFF}")
    options: dict[str, object] = {
        "KEY_ID": known.key_id,
        "SECRET": known.secret,
        "REGION": known.region,
        "SCOPE": url,
    }
    if known.session_token:
        options["SESSION_TOKEN"] = known.session_token
    if known.endpoint:
        options |= {"ENDPOINT": known.host, "URL_STYLE": "path", "USE_SSL": known.is_tls}
    if known.ca_file:
        connection.execute("SET ca_cert_file = ?", [known.ca_file])
    named = ", ".join(f"{name} ?" for name in options)
    connection.execute(f"CREATE SECRET workspace_store (TYPE s3, {named})", list(options.values()))
