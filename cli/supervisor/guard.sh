#!/bin/sh
# Reads, line by line, the process groups that live; each line replaces the one before. When the
# lines end, their writer is gone, in whichever way: whatever the last line named is ended too.
trap '' INT TERM HUP
groups=
while read -r line; do
    groups=$line
done

living() {
    for group in $groups; do
        kill -s 0 -- "-$group" 2>/dev/null && return 0
    done
    return 1
}

end() {
    for group in $groups; do
        kill -s "$1" -- "-$group" 2>/dev/null
    done
}

end TERM
waits=0
while living && [ "$waits" -lt 30 ]; do
    sleep 0.1
    waits=$((waits + 1))
done
end KILL
