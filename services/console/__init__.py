"""The console: shows the loop. It reads published views and writes nothing.

`queries` asks the views, `metrics` ● makes measures of the rows, `api` serves both as JSON, `front_door` passes
people's actions and the customer's page on to the closer where the services run apart.
"""
