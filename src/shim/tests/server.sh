# Speaks just enough MCP over stdio for the shim's tests, with nothing but a POSIX shell. Every message it reads has its
# "id" first, and what it does is chosen by the tool's name. FAKE_* variables set its manners.

say() { printf '%s\n' "$1"; }
answer() { say "{\"jsonrpc\":\"2.0\",\"id\":$1,\"result\":$2}"; }
notify() { say "{\"jsonrpc\":\"2.0\",\"method\":\"$1\",\"params\":$2}"; }

if [ -n "$FAKE_BANNER" ]; then
    say 'Welcome to the fake MCP server!'
    say '{not json at all'
fi
[ -z "$FAKE_CRASH" ] || exit 7

notes=
while IFS= read -r line; do
    id=${line#*\"id\":}
    id=${id%%[,\}]*}
    case $line in
    *'"method":"notifications/'*) notes="$notes${notes:+,}$line" ;;
    *'"id":99,'*) answer "$asker" "{\"answered\":$line}" ;;
    *'"method":"initialize"'*)
        [ -z "$FAKE_SILENT" ] || continue
        notify notifications/message '{"level":"info","data":"starting"}'
        answer "$id" "{\"protocolVersion\":\"2025-11-25\",\"capabilities\":{},\"serverInfo\":{\"pid\":$$},\"got\":$line}" ;;
    *'"method":"server/discover"'*)
        case $FAKE_MODERN in
        yes) answer "$id" '{"supportedVersions":["2026-07-28"]}' ;;
        silent) ;;
        die) exit 1 ;;
        *) say "{\"jsonrpc\":\"2.0\",\"id\":$id,\"error\":{\"code\":-32601,\"message\":\"what\"}}" ;;
        esac ;;
    *'"method":"subscriptions/listen"'*)
        subscription="\"_meta\":{\"io.modelcontextprotocol/subscriptionId\":$id}"
        listen=$id
        notify notifications/subscriptions/acknowledged "{$subscription}" ;;
    *'"method":"resources/'*) answer "$id" '{"told":true}' ;;
    *'"name":"change"'*)
        notify notifications/tools/list_changed "{$subscription}"
        [ -z "$listen" ] || answer "$listen" "{$subscription}"
        answer "$id" '{}' ;;
    *'"name":"missing"'*) say "{\"jsonrpc\":\"2.0\",\"id\":$id,\"error\":{\"code\":-32601,\"message\":\"no\"}}" ;;
    *'"name":"pid"'*) answer "$id" "{\"pid\":$$}" ;;
    *'"name":"echo"'*) answer "$id" "{\"got\":$line}" ;;
    *'"name":"notes"'*) answer "$id" "{\"notes\":[$notes]}" ;;
    *'"name":"env"'*) answer "$id" "{\"env\":\"$FAKE_TOKEN\"}" ;;
    *'"name":"progress"'*)
        notify notifications/progress "{\"progressToken\":$id,\"progress\":1}"
        notify notifications/progress "{\"progressToken\":$id,\"progress\":2.0}"
        answer "$id" '{"done":true}' ;;
    *'"name":"log"'*)
        notify notifications/message '{"level":"info","data":"hello"}'
        answer "$id" '{"done":true}' ;;
    *'"name":"ask"'*)
        asker=$id
        say '{"jsonrpc":"2.0","id":99,"method":"elicitation/create","params":{"message":"name?"}}' ;;
    *'"name":"ping"'*)
        asker=$id
        say '{"jsonrpc":"2.0","id":99,"method":"ping"}' ;;
    *'"name":"hold"'*) held=$id ;;
    *'"name":"release"'*)
        answer "$id" '{"released":true}'
        [ -z "$held" ] || answer "$held" '{"held":true}'
        held= ;;
    *'"name":"crash"'*) exit 3 ;;
    *'"name":"mute"'*) exec >&- ;;
    *'"name":"long"'*)
        answer "$id" "\"$(head -c 1000000 /dev/zero | tr '\0' x)\"" ;;
    *'"name":"log-long"'*)
        notify notifications/message '{"level":"info","data":"hello"}'
        answer "$id" "\"$(head -c 1000000 /dev/zero | tr '\0' x)\"" ;;
    *'"name":"complain"'*)
        yes "secret is $FAKE_TOKEN" | head -n 200000 >&2
        answer "$id" '{"done":true}' ;;
    *'"name":"fork"'*)
        sleep 600 &
        answer "$id" "{\"pid\":$!}" ;;
    *'"name":"stubborn"'*)
        trap '' TERM
        answer "$id" "{\"pid\":$$}"
        while :; do sleep 0.05; done ;;
    esac
done
