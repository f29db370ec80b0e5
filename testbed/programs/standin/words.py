"""The text commands of netexec's UDP and SCTP servers, pure."""


def answered(text: bytes, host_name: str, client: str) -> bytes | None:
    """The answer to `hostname`, `echo TEXT` or `clientip`, in any case, as netexec gives it; None to all others.

    Like netexec, an echo is in lower case.
    """
    word, _, rest = text.decode(errors="replace").strip().lower().partition(" ")
    if word == "echo" and rest:
        return rest.encode()
    if rest:
        return None
    return {"hostname": host_name.encode(), "clientip": client.encode()}.get(word)
