"""The console: shows the loop. It reads published views, and whatever people do here it asks of the others in their name.

`queries` asks the views, `api` serves tools as JSON, `pages` serve people, `exports` writes files, `uploads` keeps the
files that people bring and `imports` sends their rows to ingest, `front_door` passes people's actions and the customer's
page on to the closer where the services run apart. What is measured is defined in `metrics` ● and counted over `bases` ●;
`measuring` asks for it, `figures` ● says it, and `staleness` ● what of it may not be whole. What is to be said of a source is
`hearing` ●: by its pauses (`rhythm` ●) and by what the hours of a week usually bring (`volume` ●).
"""
