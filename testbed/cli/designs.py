"""testbed designs"""

import click


@click.command(epilog="Example: testbed designs routed+vxlan")
@click.argument("design", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def designs(design: str | None, as_json: bool) -> None:
    """List designs, attachments and transports: what each does, which CNIs do the same, its overhead and needs.

    With DESIGN (a name, ATTACH+TRANSPORT, or a file), print its page. An attachment goes with each transport that takes
    the packets it passes on; the pages list which.
    """
    from testbed.cli import catalogue

    if design:
        catalogue.show(design, as_json)
    elif as_json:
        catalogue.list_as_json()
    else:
        catalogue.list_as_tables()
