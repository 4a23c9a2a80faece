"""The page of the chat: static files that may load nothing from elsewhere and run nothing inline."""

from pathlib import Path

from starlette.responses import FileResponse

from nexios_trio.http import HTTPException, Request, Response
from nexios_trio.routing import Router

FILES = {file.name: file for file in (Path(__file__).parent / "static").iterdir()}
POLICY = [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
]
HEADERS = {
    "content-security-policy": "; ".join(POLICY),
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}

router = Router()


@router.get("/")
@router.get("/{name}")
async def page(req: Request, res: Response, name: str = "index.html") -> FileResponse:
    if name not in FILES:
        raise HTTPException(404)
    return FileResponse(FILES[name], headers=HEADERS)
