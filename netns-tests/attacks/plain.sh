set -e
mkdir -p /run/netns
mount -t tmpfs none /run/netns
for n in host me victim friend witness lan; do ip netns add $n; ip -n $n link set lo up; done
in_host() { ip netns exec host "$@"; }
# As kernels come, and as machines were long set: no wall, routers that carry everything.
in_host sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 \
    net.ipv4.conf.all.accept_source_route=1 net.ipv4.conf.default.accept_source_route=1
for n in me victim friend witness; do
    ip netns exec $n sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.all.accept_redirects=1 \
        net.ipv4.conf.default.accept_redirects=1 net.ipv6.conf.default.accept_redirects=1 net.ipv6.conf.default.accept_ra=1
done
in_host sysctl -qw net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 net.bridge.bridge-nf-call-arptables=0 || true
ip -n host link add br0 type bridge mcast_snooping 0
ip -n host link set br0 address 02:77:00:00:00:01
ip -n host link set br0 mtu 9000 up
ip -n host addr add 10.77.0.1/16 dev br0
ip -n host addr add fd77::1/64 dev br0 nodad
ip -n host addr add fe80::1/64 dev br0 nodad
ip -n host addr add 10.78.0.1/32 dev lo
ip -n host addr add fd78::1/128 dev lo
in_host sysctl -qw net.ipv4.neigh.br0.locktime=0
i=2
for n in me victim friend witness; do
    ip link add eth0 netns $n mtu 9000 address 02:77:00:00:00:0$i type veth peer name v$n netns host mtu 9000
    ip -n host link set v$n master br0 up
    ip -n $n link set eth0 up
    ip -n $n addr add 10.77.0.$i/16 dev eth0
    ip -n $n addr add fd77::$i/64 dev eth0 nodad
    ip -n $n route add default via 10.77.0.1
    ip -n $n route add default via fe80::1 dev eth0
    # Else a neighbour is not moved again within a second.
    ip netns exec $n sysctl -qw net.ipv4.neigh.eth0.locktime=0
    i=$((i+1))
done
ip link add lan0 netns host type veth peer name lan0 netns lan
ip -n host link set lan0 up
ip -n host addr add 192.168.50.1/24 dev lan0
ip -n host addr add fd50::1/64 dev lan0 nodad
ip -n lan link set lan0 up
ip -n lan addr add 192.168.50.2/24 dev lan0
ip -n lan addr add fd50::2/64 dev lan0 nodad
ip -n lan route add default via 192.168.50.1
ip -n lan route add default via fd50::1
