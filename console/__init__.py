"""The terminal view of the stream agents' numbers: `embedwatch top`. It reads them over HTTP.

`model`, `words`, `spark`, `panels`, `frame` and `link` only compute; `source`, `poller` and `acting` are the edges, and
`app` puts them on a screen.
"""
