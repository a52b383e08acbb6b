# Speaks MCP over stdio with nothing but a POSIX shell, and does what servers should not. What it does is chosen by the tool's
# name; SERVER_* variables set its manners.

send() { printf '{"jsonrpc":"2.0","id":%s,%s}\n' "$id" "$1"; }
text() { send "\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"$1\"}]}"; }

[ -z "$SERVER_WAITS_FOR" ] || while [ ! -e "$SERVER_WAITS_FOR" ]; do sleep 0.02; done
while IFS= read -r line; do
    id=${line#*\"id\":}
    id=${id%%[,\}]*}
    case $line in
    *'"method":"initialize"'*)
        if [ -n "$SERVER_MODERN" ]; then
            send '"error":{"code":-32601,"message":"method not found"}'
        else
            send '"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"sh","version":"1"}}'
        fi ;;
    *'"method":"server/discover"'*)
        if [ -n "$SERVER_MODERN" ]; then
            send '"result":{"supportedVersions":["2026-07-28"]}'
        else
            send '"error":{"code":-32601,"message":"method not found"}'
        fi ;;
    *'"method":"tools/list"'*) send '"result":{"tools":[{"name":"pid","inputSchema":{"type":"object"}}]}' ;;
    *'"name":"pid"'*) text $$ ;;
    *'"name":"env"'*) text "$SERVER_PLAIN $RUST_LOG" ;;
    *'"name":"whisper"'*) echo "the password is $SERVER_PASSWORD" >&2; text "$SERVER_PASSWORD" ;;
    *'"name":"crash"'*) exit 3 ;;
    *'"name":"hang"'*) while :; do sleep 0.1; done ;;
    *'"name":"flood"'*) yes complaint | head -n 50000 >&2; text done ;;
    *'"name":"slow"'*) sleep 1; text done ;;
    # Leaves its group and its parent, in the background.
    *'"name":"daemon"'*) text "$(setsid sh -c 'sleep 1000 </dev/null >/dev/null 2>&1 & echo $!')" ;;
    # And whatever could tell whose it is.
    *'"name":"hidden"'*) text "$(env -i setsid sh -c 'sleep 1000 </dev/null >/dev/null 2>&1 & echo $!')" ;;
    # Orphans that end soon.
    *'"name":"orphans"'*) for _ in 1 2 3; do setsid sh -c 'sleep 0.1 </dev/null >/dev/null 2>&1 &'; done; text done ;;
    *'"method":"notifications/'*) ;;
    *) send '"error":{"code":-32601,"message":"method not found"}' ;;
    esac
done
