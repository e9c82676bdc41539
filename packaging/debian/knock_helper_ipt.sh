#!/bin/sh
# Adds or deletes a rule of iptables for a knocker, and does not add it twice. With the options of the script of this
# name in Debian's package knockd, for configurations that run it. A door with `open = PORT/tcp` needs no script.

usage() {
    cat <<USAGE
Usage: $(basename "$0") -a|-i|-x -f ADDRESS -d PORT [-p PROTOCOL] [-c CHAIN] [-m[COMMENT]] [-t] [-v]
  -a, --append       add a rule at the chain's end
  -i, --insert       add a rule at the chain's beginning
  -x, --delete       delete the rule
  -f, --srcaddr      the address that may come in, IPv4 or IPv6
  -d, --dstport      the port that it may come to
  -p, --proto        the protocol; tcp when unsaid
  -c, --chain        the chain; INPUT when unsaid
  -m, --comment      with a comment; "by knockd" when it is empty
  -t, --test         change nothing
  -v, --verbose      tell what is done
  -h, --help         this
USAGE
}

fail() {
    echo "$(basename "$0"): $1" >&2
    usage >&2
    exit 1
}

parsed=$(getopt -o aixf:d:p:c:m::thv \
    -l append,insert,delete,srcaddr:,dstport:,proto:,chain:,comment::,test,help,verbose -n "$(basename "$0")" -- "$@") ||
    fail "the options are wrong"
eval set -- "$parsed"

action='' address='' port='' protocol=tcp chain=INPUT comment='' test='' verbose=''
while [ "$1" != -- ]; do
    case "$1" in
    -a | --append) action=-A ;;
    -i | --insert) action=-I ;;
    -x | --delete) action=-D ;;
    -f | --srcaddr) address=$2 && shift ;;
    -d | --dstport) port=$2 && shift ;;
    -p | --proto) protocol=$2 && shift ;;
    -c | --chain) chain=$2 && shift ;;
    -m | --comment) comment=${2:-by knockd} && shift ;;
    -t | --test) test=yes ;;
    -v | --verbose) verbose=yes ;;
    -h | --help) usage && exit 0 ;;
    esac
    shift
done

[ -n "$action" ] || fail "one of -a, -i and -x is needed"
[ -n "$address" ] || fail "-f ADDRESS is needed"
[ -n "$port" ] || fail "-d PORT is needed"

case "$address" in
*:*) iptables=ip6tables ;;
*) iptables=iptables ;;
esac

# The same comment for adding and deleting: a rule is deleted by all that it says.
set -- "$chain" -s "$address" -p "$protocol" --dport "$port"
[ -z "$comment" ] || set -- "$@" -m comment --comment "$comment"
set -- "$@" -j ACCEPT

is_there() {
    $iptables -w -C "$@" 2>/dev/null
}

if [ $action != -D ] && is_there "$@"; then
    [ -z "$verbose" ] || echo "is there already: $*"
    exit 0
fi
[ -z "$verbose" ] || echo "$iptables $action $*"
[ -n "$test" ] || exec $iptables -w $action "$@"
