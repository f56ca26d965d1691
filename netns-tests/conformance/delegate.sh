#!/bin/sh
# An address plugin for the conformance rows: answers ADD with the file `answer`, fails at the
# verbs that the file `fails` names, and writes down each call.
D=/run/delegate
cat > $D/$CNI_COMMAND.stdin
env > $D/$CNI_COMMAND.env
echo "$CNI_COMMAND" >> $D/calls
echo "told to $CNI_COMMAND" >&2
if grep -qx "$CNI_COMMAND" $D/fails; then
    echo '{"cniVersion":"1.0.0","code":150,"msg":"told to fail"}'
    exit 1
fi
[ "$CNI_COMMAND" != ADD ] || cat $D/answer
