#!/bin/sh
# A program that does something now and then, and ends when it is told to (SIGTERM).
echo "script: started as $$"
while :; do
    sleep 30
    echo "script: still here"
done
