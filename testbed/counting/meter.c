/* Counts the instructions of round trips, connections, datagrams and transfers between two places.
 *
 * In a virtual machine whose time stamp counter counts instructions, the counter before and after a system call gives
 * the instructions of the kernel and of all programs that ran meanwhile. Programs' own instructions at the ends are
 * measured as well: the server's are in its answers.
 *
 *     meter serve                              echo UDP and TCP, receive bulk TCP; prints "ready"
 *     meter ask ADDRESS MODE SIZE COUNT [FILE] prints a line per measurement: total, own, one way; meanwhile, FILE
 *                                              has a 1 instead of a 0
 *
 * SIZE is the bytes of a request and of its answer; of bulk, the bytes of a transfer, in chunks. The first measurements,
 * a few of each mode, are not printed: connections are new, and caches of the kernel empty.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { ECHO_PORT = 7486, BULK_PORT = 7487, MOST = 65536, CHUNK = 62500 };

/* What an answer begins with. */
struct answer {
	uint64_t arrived; /* the counter when the request arrived */
	uint64_t own;     /* the server's own instructions for the answer */
};

static char buffer[MOST];

static uint64_t now(void)
{
	uint32_t low, high;
	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

static void check(int good, const char *what)
{
	if (!good) {
		fprintf(stderr, "%s: %s\n", what, strerror(errno));
		exit(1);
	}
}

static int tcp_options(int sock)
{
	int on = 1;
	setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	return sock;
}

static int bound(int type, int port)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	struct sockaddr_in any4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	int off = 0, on = 1, sock = socket(AF_INET6, type, 0), bad;
	if (sock >= 0) {
		setsockopt(sock, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
		setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
		bad = bind(sock, (struct sockaddr *)&any, sizeof any);
	} else {
		check((sock = socket(AF_INET, type, 0)) >= 0, "socket");
		setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
		bad = bind(sock, (struct sockaddr *)&any4, sizeof any4);
	}
	check(!bad, "bind");
	check(type != SOCK_STREAM || !listen(sock, 16), "listen");
	return sock;
}

static void serve_udp(int sock)
{
	struct sockaddr_storage from;
	struct answer *answer = (void *)buffer;
	uint64_t after = 0;
	for (uint64_t before = now();; before = now()) {
		socklen_t length = sizeof from;
		ssize_t size = recvfrom(sock, buffer, MOST, 0, (void *)&from, &length);
		answer->arrived = now();
		answer->own = after ? before - after : 0;
		answer->own += now() - answer->arrived;
		if (size > 0)
			sendto(sock, buffer, size, 0, (void *)&from, length);
		after = now();
	}
}

static void serve_tcp(int listening)
{
	struct answer *answer = (void *)buffer;
	for (;;) {
		int sock = tcp_options(accept(listening, 0, 0));
		ssize_t size;
		uint64_t after = 0;
		for (;;) {
			uint64_t before = now();
			if ((size = recv(sock, buffer, MOST, 0)) <= 0)
				break;
			answer->arrived = now();
			answer->own = after ? before - after : 0;
			answer->own += now() - answer->arrived;
			if (send(sock, buffer, size, MSG_NOSIGNAL) != size)
				break;
			after = now();
		}
		close(sock);
	}
}

/* Answers each chunk, so that both ends take turns: how they overlap would depend on the scheduler. */
static void serve_bulk(int listening)
{
	for (;;) {
		int sock = tcp_options(accept(listening, 0, 0));
		uint64_t own = 0, after = now();
		long left = CHUNK;
		for (;;) {
			own += now() - after;
			ssize_t size = recv(sock, buffer, left, 0);
			after = now();
			if (size <= 0)
				break;
			if ((left -= size) == 0) {
				struct answer answer = { .own = own + now() - after };
				if (send(sock, &answer, sizeof answer, MSG_NOSIGNAL) < 0)
					break;
				own = 0, left = CHUNK, after = now();
			}
		}
		close(sock);
	}
}

static void serve(void)
{
	int udp = bound(SOCK_DGRAM, ECHO_PORT), tcp = bound(SOCK_STREAM, ECHO_PORT), bulk = bound(SOCK_STREAM, BULK_PORT);
	pid_t parent = getpid();
	puts("ready");
	fflush(stdout);
	for (int child = 0; child < 2; child++) {
		pid_t pid = fork();
		check(pid >= 0, "fork");
		if (pid)
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			exit(1);
		if (child)
			serve_tcp(tcp);
		serve_bulk(bulk);
	}
	serve_udp(udp);
}

/* --- the client --- */

struct sample {
	uint64_t total, own, one_way;
};

static union {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
} target;
static socklen_t target_length;

static int connected(int type, int protocol)
{
	struct timeval patience = { .tv_sec = 20 };
	int sock = socket(target.any.sa_family, type, protocol);
	check(sock >= 0, "socket");
	setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
	if (type == SOCK_STREAM)
		tcp_options(sock);
	check(!connect(sock, &target.any, target_length), "connect");
	return sock;
}

static void to(int port)
{
	if (target.any.sa_family == AF_INET)
		target.v4.sin_port = htons(port);
	else
		target.v6.sin6_port = htons(port);
}

/* Sends a request, and receives all of its answer; the size is that of both. */
static struct sample exchange(int sock, size_t size)
{
	struct answer *answer = (void *)buffer;
	uint64_t begin = now();
	check(send(sock, buffer, size, 0) == (ssize_t)size, "send");
	uint64_t sent = now(), between = sent, own = 0;
	for (size_t got = 0; got < size;) {
		own += now() - between;
		ssize_t part = recv(sock, buffer + got, size - got, 0);
		between = now();
		check(part > 0, "no answer");
		got += part;
	}
	return (struct sample){ between - begin, own + answer->own, answer->arrived - begin };
}

static struct sample round_trip(size_t size)
{
	static int sock = -1;
	if (sock < 0)
		to(ECHO_PORT), sock = connected(SOCK_STREAM, 0);
	return exchange(sock, size);
}

static struct sample datagram(size_t size)
{
	static int sock = -1;
	if (sock < 0)
		to(ECHO_PORT), sock = connected(SOCK_DGRAM, 0);
	return exchange(sock, size);
}

static struct sample connection(size_t size)
{
	to(ECHO_PORT);
	uint64_t begin = now();
	int sock = socket(target.any.sa_family, SOCK_STREAM, 0);
	check(!connect(sock, &target.any, target_length), "connect");
	struct sample one = exchange(sock, size);
	check(!shutdown(sock, SHUT_WR), "shutdown");
	check(recv(sock, buffer, MOST, 0) == 0, "the other end does not close");
	close(sock);
	one.total = now() - begin;
	return one;
}

static struct sample echo(size_t size)
{
	static int sock = -1;
	static uint16_t sequence;
	int v4 = target.any.sa_family == AF_INET;
	if (sock < 0) {
		to(0);
		sock = connected(SOCK_RAW, v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
	}
	/* Both protocols have the same header; the kernel computes the checksum of ICMPv6 alone. */
	struct icmphdr *request = (void *)buffer;
	memset(buffer, 0, sizeof *request);
	request->type = v4 ? ICMP_ECHO : ICMP6_ECHO_REQUEST;
	request->un.echo.sequence = htons(++sequence);
	if (v4) {
		uint32_t sum = 0;
		for (size_t word = 0; word < size / 2; word++)
			sum += ((uint16_t *)buffer)[word];
		sum = (sum >> 16) + (sum & 0xffff);
		request->checksum = ~(sum + (sum >> 16));
	}
	uint16_t mine = request->un.echo.sequence;
	uint64_t begin = now(), own = 0;
	check(send(sock, buffer, size, 0) == (ssize_t)size, "send");
	for (uint64_t between = now();;) {
		own += now() - between;
		ssize_t got = recv(sock, buffer, MOST, 0);
		between = now();
		check(got > 0, "no answer");
		struct icmphdr *answer = (void *)(buffer + (v4 ? 4 * (buffer[0] & 15) : 0));
		if (answer->type == (v4 ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY) && answer->un.echo.sequence == mine)
			return (struct sample){ between - begin, own, 0 };
	}
}

static struct sample transfer(int sock, size_t size)
{
	struct answer answer;
	uint64_t begin = now(), own = 0, between = begin;
	for (size_t left = size; left >= CHUNK; left -= CHUNK) {
		own += now() - between;
		check(send(sock, buffer, CHUNK, 0) == CHUNK, "send");
		check(recv(sock, &answer, sizeof answer, MSG_WAITALL) == sizeof answer, "no answer");
		between = now();
		own += answer.own;
	}
	return (struct sample){ now() - begin, own, 0 };
}

/* By a connection of its own: how its memory is laid out makes a difference of a percent. */
static struct sample bulk(size_t size)
{
	to(BULK_PORT);
	int sock = connected(SOCK_STREAM, 0);
	transfer(sock, size); /* its congestion window grows */
	struct sample one = transfer(sock, size);
	close(sock);
	return one;
}

static const struct {
	const char *name;
	struct sample (*measure)(size_t size);
	long warm_up;
} modes[] = {
	{ "icmp", echo, 16 },
	{ "udp", datagram, 16 },
	{ "tcp", round_trip, 16 },
	{ "connect", connection, 8 },
	{ "bulk", bulk, 1 },
};

static void turn(int file, const char *on)
{
	if (file >= 0)
		check(write(file, on, 1) == 1, "write");
}

static void ask(char **words)
{
	if (inet_pton(AF_INET, words[0], &target.v4.sin_addr) == 1)
		target.any.sa_family = AF_INET, target_length = sizeof target.v4;
	else if (inet_pton(AF_INET6, words[0], &target.v6.sin6_addr) == 1)
		target.any.sa_family = AF_INET6, target_length = sizeof target.v6;
	size_t size = atol(words[2]);
	long count = atol(words[3]);
	for (size_t mode = 0; mode < sizeof modes / sizeof *modes; mode++) {
		if (strcmp(modes[mode].name, words[1]))
			continue;
		long first = modes[mode].warm_up;
		struct sample *samples = calloc(first + count, sizeof *samples);
		check(samples != 0, "calloc");
		int file = words[4] ? open(words[4], O_WRONLY) : -1;
		check(!words[4] || file >= 0, words[4]);
		for (long number = 0; number < first; number++)
			samples[number] = modes[mode].measure(size);
		turn(file, "1");
		for (long number = first; number < first + count; number++)
			samples[number] = modes[mode].measure(size);
		turn(file, "0");
		for (long number = first; number < first + count; number++)
			printf("%lu %lu %lu\n", samples[number].total, samples[number].own, samples[number].one_way);
		return;
	}
	errno = EINVAL;
	check(0, words[1]);
}

int main(int count, char **words)
{
	if (count == 2 && !strcmp(words[1], "serve"))
		serve();
	else if ((count == 6 || count == 7) && !strcmp(words[1], "ask"))
		ask(words + 2);
	else
		fputs("usage: meter serve | meter ask ADDRESS MODE SIZE COUNT [FILE]\n", stderr);
	return count < 6;
}
