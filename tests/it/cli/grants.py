"""Makes so many grants over REST: URL TOKEN COUNT."""
import http.client, json, ssl, sys

server, token, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
connection = http.client.HTTPSConnection(server, context=ssl._create_unverified_context())
headers = {"Authorization": "Bearer " + token, "Content-Type": "application/json"}
for number in range(count):
    body = json.dumps({"name": f"g{number}", "allow_names": ["lab.example"]})
    connection.request("POST", "/api/v1/grants", body, headers)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 201:
        sys.exit(f"{answer.status} {text.decode()}")
