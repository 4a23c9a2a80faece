"""The application that the contract's tests talk to, on every transport."""

from nexios_trio import NexiosApp
from nexios_trio.http import Request, Response
from tests.contract.routes import connection, consumers, groups, middleware, nested, reports, synchronous

app = NexiosApp(middleware=[middleware.Place("application")])
for part in (reports, connection, groups, consumers, synchronous, middleware, nested):
    app.mount_router(part.router)


@app.get("/")
async def hello(req: Request, res: Response) -> str:
    return "hello"


@app.post("/items/{number:int}")
async def item(req: Request, res: Response, number: int) -> Response:
    return res.status(201).json({"number": number, "body": await req.json(), "q": req.query_params.get("q")})


@app.get("/fail")
async def fail(req: Request, res: Response) -> None:
    raise LookupError("secret")
