"""``torghut-runtime serve``: the HTTP service of the runtime."""

from contextlib import suppress

import click

from torghut_runtime.command_line import ExitCode, end, examples


@click.command(epilog=examples("torghut-runtime serve", "torghut-runtime serve --port 8191"))
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=click.IntRange(1, 65535), default=8181, show_default=True, help="The port.")
def serve(host: str, port: int) -> None:
    """Trade, and serve health, readiness and metrics; comes up also with database and broker down.

    Engine and HTTP are one process. SIGTERM stops submitting, cancels open entries, releases the lease and exits within
    ten seconds. Settings come from the environment; invalid ones exit with 2. Log lines are JSON, on stderr.
    """
    import uvicorn

    from torghut_runtime.addresses import listening_socket
    from torghut_runtime.logs import configure_logging
    from torghut_runtime.main import create_engine_app

    configure_logging()
    app = create_engine_app()
    listener = listening_socket(port, host)  # before the engine starts: it would trade, and end at once
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
    with listener, suppress(KeyboardInterrupt):
        server.run([listener])
    if not server.started:
        end(ExitCode.FAILURE)
