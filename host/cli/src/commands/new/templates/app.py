"""template-service: greets whoever asks."""

import json
from urllib.parse import parse_qs

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import configuration, errors
from wit_world.imports.pyairtable_service_http import Reply_Whole
from wit_world.imports.pyairtable_types_http import Response


class Handler(exports.Handler):
    def handle(self, request, responder):
        if request.path() != "/api/v1/greetings":
            raise Err(
                errors.Error(errors.ErrorClass.NOT_FOUND, "greeting.no-route", "there is nothing here", None, [])
            )
        name = parse_qs(request.query() or "").get("name", ["world"])[0]
        greeting = json.loads(configuration.get("greeting"))
        body = json.dumps({"message": f"{greeting}, {name}!"}).encode()
        return Reply_Whole(Response(200, [("content-type", "application/json")], body))
