"""testbed designs"""

import click


@click.command(epilog="Example: testbed designs routed+vxlan")
@click.argument("design", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def designs(design: str | None, as_json: bool) -> None:
    """List the designs, attachments and transports: what each does, who does it so, what it costs and needs.

    With a DESIGN (a name, ATTACH+TRANSPORT, or a file) its page. Any attachment goes with any transport that takes what
    it hands on; the page of either says which.
    """
    from testbed.cli import catalogue

    if design:
        catalogue.show(design, as_json)
    elif as_json:
        catalogue.list_as_json()
    else:
        catalogue.list_as_tables()
