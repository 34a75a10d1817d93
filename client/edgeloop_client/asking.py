"""One request to an agent's HTTP door, and what its failure means to a person."""

import time
from typing import Any

import httpx

from edgeloop_client.endpoint import Endpoint
from edgeloop_client.errors import ClientError

PAUSE_SECONDS = 0.5


class Asking:
    """An agent's door, held open for several requests. `attempts`: how often one that may be repeated is tried in all."""

    def __init__(self, endpoint: Endpoint, *, attempts: int = 1) -> None:
        self.endpoint = endpoint
        self._attempts = attempts
        self._http = httpx.Client(trust_env=not endpoint.is_local, timeout=60)

    def __enter__(self) -> "Asking":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Ask, and return an answer that is no refusal.

        Raises:
            ClientError: a refusal, or nobody answers.
        """
        left = self._attempts
        while True:
            left -= 1
            problem = self._try(method, path, options)
            if isinstance(problem, httpx.Response):
                return problem
            if not left:
                raise problem
            time.sleep(PAUSE_SECONDS * (self._attempts - left))

    def _try(self, method: str, path: str, options: dict[str, Any]) -> httpx.Response | ClientError:
        endpoint = self.endpoint
        try:
            answer = self._http.request(method, endpoint.http + path, headers=endpoint.headers, **options)
        except httpx.HTTPError as error:
            return endpoint.nobody(error)
        if answer.is_success:
            return answer
        refusal = endpoint.refused(answer.status_code, answer.content)
        if refusal is not None:
            raise refusal
        return ClientError(f"{endpoint.base} answers {answer.status_code}", next_step="try again")
