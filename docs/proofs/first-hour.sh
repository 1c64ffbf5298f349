#!/usr/bin/env bash
# Replays what a new user meets with two builds of Emcee, and writes both outputs to first-hour.md.
#
#   docs/proofs/first-hour.sh OLD-BINARY NEW-BINARY > docs/proofs/first-hour.md
#
# Needs python3 (servers that answer wrongly) and openssl (keys that Envoy does not support).
set -uo pipefail
old=$(realpath "$1") new=$(realpath "$2")
place=$(mktemp -d)
servers=()
cleanup() {
    [ ${#servers[@]} -eq 0 ] || kill "${servers[@]}" 2>/dev/null
    rm -rf "$place"
}
trap cleanup EXIT
cd "$place" || exit 2

cat >mesh.yaml <<'Y'
apiVersion: mm.ibm.istio.io/v1
kind: MeshFedConfig
metadata: {name: trade, namespace: fed-trade}
spec:
  mode: BOUNDARY
  tls_context_selector: {relationship: trade}
  use_egress_gateway: true
  use_ingress_gateway: true
  allowed_namespaces: [payments, shop]
  peers:
  - {name: kestrel, subject_alt_names: [mesh.kestrel.example]}
---
apiVersion: v1
kind: Service
metadata: {name: payments-api, namespace: payments}
spec: {ports: [{port: 8080}]}
---
apiVersion: mm.ibm.istio.io/v1
kind: ServiceExposition
metadata: {name: payments-api, namespace: payments}
spec:
  name: payments-api
  port: 8080
  mesh_fed_config_selector: {fed-config: trade}
Y

# Runs a command with one binary: the output without the temporary folder, at most 12 lines, and the exit code.
run() {
    local binary=$1 code
    shift
    timeout 25 bash -c "emcee() { '$binary' \"\$@\"; }; $*" >output 2>&1
    code=$?
    sed "s#$place/##g; s#$(basename "$binary")#emcee#g; s#127\.0\.0\.1:[0-9]*#127.0.0.1:PORT#g" output | cut -c1-700 | head -12
    local lines
    lines=$(wc -l <output)
    [ "$lines" -le 12 ] || echo "… $((lines - 12)) more lines"
    if [ $code -eq 124 ]; then echo "(no end within 25 s)"; else echo "(exit code $code)"; fi
}

# A row: a title, and a command.
row() {
    local title=$1
    shift
    printf '\n## %s\n\n`%s`\n\nBefore:\n\n```\n' "$title" "${*//$'\n'/ }"
    run "$old" "$*"
    printf '```\n\nAfter:\n\n```\n'
    run "$new" "$*"
    printf '```\n'
}

# A copy of mesh.yaml with one change.
change() { sed "$2" mesh.yaml >"$1.yaml"; }

# A server: every request gets the status, type and body; `silent` answers nothing.
serve() {
    python3 - "$@" >port 2>/dev/null <<'P' &
import socket, sys, threading, time
kind, status, body = (sys.argv[1:] + ["", "", ""])[:3]
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
def talk(stream):
    try:
        while kind != "silent" and stream.recv(65536):
            type_ = "text/html" if body.startswith("<") else "application/json"
            stream.sendall(f"HTTP/1.1 {status}\r\nContent-Type: {type_}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        time.sleep(600)
    except OSError:
        pass
while True:
    threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()
P
    servers+=($!)
    until [ -s port ]; do sleep 0.1; done
    local port
    port=$(cat port)
    rm -f port
    cat >"$1.kubeconfig" <<Y
apiVersion: v1
kind: Config
current-context: lab
contexts: [{name: lab, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: 'http://127.0.0.1:$port'}}]
users: [{name: u, user: {}}]
Y
}

cat <<'M'
# The first hour

What a new user meets, replayed with the version before and after this work (`docs/proofs/first-hour.sh OLD NEW`). At most 12 lines
of each output are shown.
M

row "A mesh that admits everybody" "sed '/peers:/,/kestrel/d' mesh.yaml >anybody.yaml; emcee validate -f anybody.yaml"
change typo 's/^  name: payments-api/  name: payment-api/'
row "A misspelt Service" "emcee validate -f typo.yaml"
change namespace 's/payments-api, namespace: payments}/payments-api, namespace: paymets}/2; /kind: ServiceExposition/,$ s/namespace: payments}/namespace: paymets}/'
row "A misspelt namespace" "emcee validate -f namespace.yaml"
change nonamespace '/kind: ServiceExposition/,$ s/, namespace: payments}/}/'
row "No namespace" "emcee validate -f nonamespace.yaml"
change subset '/kind: ServiceExposition/,$ s/port: 8080/port: 8080\n  subset: v3/'
row "A subset that no rule defines" "emcee validate -f subset.yaml"
"$new" certs --relationship trade --namespace fed-trade --mesh nordhav=mesh.nordhav.example --mesh kestrel=mesh.kestrel.example -o certs >/dev/null 2>&1
row "The Secret of the other company" "emcee validate -f mesh.yaml certs/kestrel.yaml"
sed 's/namespace: fed-trade/namespace: trade/' certs/nordhav.yaml >elsewhere.yaml
row "The Secret in another namespace" "emcee validate -f mesh.yaml elsewhere.yaml"
sed 's#kubernetes.io/tls#Opaque#' certs/nordhav.yaml >opaque.yaml
row "The Secret has another type" "emcee validate -f mesh.yaml opaque.yaml"
openssl genpkey -algorithm ed25519 -out ed.key 2>/dev/null
openssl req -new -x509 -key ed.key -subj /CN=ca -out ed.crt -days 30 -addext 'subjectAltName=DNS:mesh.nordhav.example' 2>/dev/null
cat >ed.yaml <<Y
apiVersion: v1
kind: Secret
metadata: {name: trade, namespace: fed-trade, labels: {relationship: trade}}
type: kubernetes.io/tls
data: {tls.crt: $(base64 -w0 ed.crt), tls.key: $(base64 -w0 ed.key), ca.crt: $(base64 -w0 ed.crt)}
Y
row "An Ed25519 key" "emcee validate -f mesh.yaml ed.yaml"
serve busy "503 Service Unavailable" '{"kind":"Status","apiVersion":"v1","status":"Failure","message":"apiserver is shutting down","reason":"ServiceUnavailable","code":503}'
row "status, an API server that answers 503" "emcee status --kubeconfig busy.kubeconfig"
row "bind, an API server that answers 503" "emcee bind trade/kestrel/shop/stock --kubeconfig busy.kubeconfig"
serve silent
row "status, a server that never answers" "emcee status --kubeconfig silent.kubeconfig"
{
    for number in $(seq 0 9999); do
        printf -- '---\napiVersion: mm.ibm.istio.io/v1\nkind: ServiceBinding\nmetadata: {name: stock-%s, namespace: shop}\nspec: {name: stock-%s, port: 80, endpoints: ["203.0.113.1:15443"], mesh_fed_config_selector: {fed-config: trade}}\n' "$number" "$number"
    done
    echo ---
    sed 's/BOUNDARY/BOUNDRY/' mesh.yaml
} >many.yaml
row "10,000 bindings, and one mistake in the MeshFedConfig" "emcee validate -f many.yaml"
change camel 's/use_ingress_gateway/useIngressGateway/'
row "A field in camel case" "emcee validate -f camel.yaml"
cat >long.yaml <<'Y'
apiVersion: v1
kind: Service
metadata:
  name: a-service-with-a-name-of-exactly-sixty-three-characters-in-totx
  namespace: payments
  labels: {emcee.io/expose: trade}
spec: {ports: [{port: 8080}]}
Y
row "A Service with a name of 63 characters, exposed by its label" "emcee validate -f mesh.yaml long.yaml"
row "Nothing listens" "sed 's/127.0.0.1:[0-9]*/127.0.0.1:1/' busy.kubeconfig >gone.kubeconfig; emcee status --kubeconfig gone.kubeconfig"
row "A context that does not exist" "emcee status --kubeconfig busy.kubeconfig --context typo"
row "No kubeconfig" "HOME=/nowhere KUBECONFIG= emcee status"
printf 'apiVersion: v1\nclusters: [\n' >broken.kubeconfig
row "A broken kubeconfig" "emcee status --kubeconfig broken.kubeconfig"
serve page "200 OK" '<html><body>Please log in</body></html>'
row "A proxy answers with a page" "emcee status --kubeconfig page.kubeconfig"
row "diff --cluster, nothing listens" "emcee diff --cluster --kubeconfig gone.kubeconfig"
row "Files without -f" "emcee validate mesh.yaml"
row "Empty input" "emcee validate -f - </dev/null"
row "The meaning of a reason" "emcee explain NotStrict"
row "Findings for a program" "emcee validate -f typo.yaml -o json"
cat >url.yaml <<'Y'
apiVersion: mm.ibm.istio.io/v1
kind: ServiceBinding
metadata: {name: stock, namespace: shop}
spec: {name: stock, port: 80, endpoints: ["http://203.0.113.1:15443"], mesh_fed_config_selector: {fed-config: trade}}
Y
row "A URL as an endpoint" "emcee validate -f mesh.yaml url.yaml"
sed 's/namespace: payments}$/namespace: payments, labels: {emcee.io\/exposed: trade}}/' mesh.yaml >label.yaml
row "A misspelt label" "emcee validate -f label.yaml"
sed 'N;s#mm.ibm.istio.io/v1\nkind: ServiceExposition#emcee.io/v1\nkind: ServiceExposition#;P;D' mesh.yaml >group.yaml
row "Another API group" "emcee validate -f group.yaml"
row "certs: a trust domain that the resources refuse" "emcee certs --relationship x --mesh m1=m1.example --spiffe m1=spiffe://a_b/ns/x -o x; rm -rf x"
