"""Answers health checks of load balancers on a node, as kube-proxy does: has a Service endpoints here?

Usage: service_health.py FILE

FILE has a JSON object: ports, each with `namespace`, `name` and `endpoints`, the number of ready endpoints on the node.
Each port answers every HTTP request: 200 with endpoints, 503 without. SIGHUP reads the file again. Prints `ready` when
all ports are open.
"""

import json
import signal
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

BODY = """{{
	"service": {{
		"namespace": {namespace},
		"name": {name}
	}},
	"localEndpoints": {endpoints},
	"serviceProxyHealthy": true
}}"""


class Server(ThreadingHTTPServer):
    """The server of one port, for IPv4 and IPv6."""

    address_family = socket.AF_INET6
    daemon_threads = True

    def __init__(self, port: int, service: dict[str, Any]) -> None:
        self.service = service
        super().__init__(("::", port), Handler)

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


class Handler(BaseHTTPRequestHandler):
    """Answers with the state of the server's Service."""

    server: Server

    def do_GET(self) -> None:
        service = self.server.service
        values = {key: json.dumps(service[key]) for key in ("namespace", "name", "endpoints")}
        body = BODY.format(**values).encode()
        self.send_response(200 if service["endpoints"] else 503)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Load-Balancing-Endpoint-Weight", values["endpoints"])
        self.end_headers()
        self.wfile.write(body)

    do_HEAD = do_POST = do_GET

    def log_message(self, format: str, *arguments: Any) -> None:
        """Logs nothing: load balancers ask every few seconds."""


def follow(servers: dict[int, Server], wanted: dict[int, dict[str, Any]]) -> None:
    """Closes servers of other ports, opens new ones, and updates the Services of all."""
    for port in [port for port in servers if port not in wanted]:
        server = servers.pop(port)
        server.shutdown()
        server.server_close()
    for port, service in wanted.items():
        if port in servers:
            servers[port].service = service
        else:
            servers[port] = Server(port, service)
            threading.Thread(target=servers[port].serve_forever, daemon=True).start()


def main(path: str) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    servers: dict[int, Server] = {}
    while True:
        wanted = json.loads(Path(path).read_text())
        follow(servers, {int(port): service for port, service in wanted.items()})
        print("ready", flush=True)
        signal.sigwait([signal.SIGHUP])


if __name__ == "__main__":
    main(sys.argv[1])
