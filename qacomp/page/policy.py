"""Say what the page may load and run, in its own tag and in the headers of the server."""

POLICY = {
    "default-src": "'none'",
    "script-src": "'self' 'wasm-unsafe-eval'",
    "worker-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
}
"""The content security policy: nothing from elsewhere, no inline script or style; WebAssembly may be compiled."""


def policy() -> str:
    """Return the policy as the text of the page's meta tag."""
    return "; ".join(f"{name} {value}" for name, value in POLICY.items())


def headers() -> dict[str, str]:
    """Return the headers that the server sends with every answer; a meta tag can't forbid frames."""
    return {
        "Content-Security-Policy": f"{policy()}; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
    }
