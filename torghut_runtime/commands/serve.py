"""``torghut-runtime serve``: the HTTP service of the runtime."""

import click

from torghut_runtime.command_line import examples


@click.command(epilog=examples("torghut-runtime serve", "torghut-runtime serve --port 8191"))
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=click.IntRange(1, 65535), default=8181, show_default=True, help="The port.")
def serve(host: str, port: int) -> None:
    """Serve health, readiness and metrics; comes up also with the database down. Log lines are JSON, on stderr."""
    import uvicorn

    from torghut_runtime.logs import configure_logging
    from torghut_runtime.main import create_app
    from torghut_runtime.settings import load_settings

    configure_logging()
    uvicorn.run(create_app(load_settings()), host=host, port=port, log_config=None)
