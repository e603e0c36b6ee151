/* A load client for SMTP submission: TLS, AUTH PLAIN, pipelining; one thread for each connection.
 *
 * It is written in C so that the server is what is measured: about 0.03 s of CPU for 1,000 messages of 2 KB.
 *
 *   cc -O2 -o load load.c -lssl -lcrypto -lpthread
 *   ./load PORT USER PASSWORD CONNECTIONS MESSAGES MESSAGES_PER_CONNECTION OCTETS RESUME [RATE [DOMAINS]]
 *
 * OCTETS is how large a message is, or the path of a file with one: dots stuffed, the final dot included; wherever it
 * has @@@@@@@@, each message has its own number.  RESUME 1 offers TLS session resumption.  RATE is how many messages
 * begin a second; 0: as many as the server takes.  DOMAINS: recipients are at d0.example, d1.example, ... in turn, so many
 * domains; 0: at one.  It prints one line of JSON: messages, errors, seconds, and the median
 * and 99th percentile of the time from the final dot to its 250, in milliseconds.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int port, per_connection, resume, domains;
static long messages;
static char auth_line[1024];
static char *body;
static size_t body_length;
static size_t marks[64];
static int mark_count;
static SSL_CTX *context;
static int owner_index;
static atomic_long next_message, errors;
static double rate, start_time;
static double *latencies; /* by message; 0 where there was no 250 */

struct connection {
    int socket;
    SSL *tls;
    SSL_SESSION *session;
    char input[65536];
    size_t begin, end;
    char *body;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

/* TLS 1.3 sends its tickets after the handshake: keep the newest one of each connection's thread. */
static int keep_session(SSL *tls, SSL_SESSION *session)
{
    struct connection *c = SSL_get_ex_data(tls, owner_index);
    if (c->session)
        SSL_SESSION_free(c->session);
    c->session = session;
    return 1;
}

static int say(struct connection *c, const char *data, size_t length)
{
    return SSL_write(c->tls, data, length) == (int)length ? 0 : -1;
}

/* The code of the next reply; -1 when the connection is lost. */
static int reply(struct connection *c)
{
    for (;;) {
        char *line = c->input + c->begin;
        char *newline = memchr(line, '\n', c->end - c->begin);
        if (newline) {
            c->begin = newline + 1 - c->input;
            if (newline - line > 3 && line[3] == '-')
                continue;
            return atoi(line);
        }
        memmove(c->input, line, c->end - c->begin);
        c->end -= c->begin;
        c->begin = 0;
        int count = SSL_read(c->tls, c->input + c->end, sizeof c->input - c->end);
        if (count <= 0)
            return -1;
        c->end += count;
    }
}

static int expect(struct connection *c, int first_digit)
{
    return reply(c) / 100 == first_digit ? 0 : -1;
}

static int open_connection(struct connection *c)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct timeval timeout = {30, 0};
    int on = 1;
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    c->begin = c->end = 0;
    c->socket = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(c->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(c->socket, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    if (connect(c->socket, (struct sockaddr *)&address, sizeof address))
        return -1;
    c->tls = SSL_new(context);
    SSL_set_ex_data(c->tls, owner_index, c);
    SSL_set_fd(c->tls, c->socket);
    if (resume && c->session)
        SSL_set_session(c->tls, c->session);
    if (SSL_connect(c->tls) != 1 || expect(c, 2))
        return -1;
    if (say(c, "EHLO load.example.com\r\n", 23) || expect(c, 2))
        return -1;
    return say(c, auth_line, strlen(auth_line)) || expect(c, 2);
}

static void close_connection(struct connection *c)
{
    if (c->tls) {
        SSL_shutdown(c->tls);
        SSL_free(c->tls);
        c->tls = NULL;
    }
    close(c->socket);
}

/* Wait until it is this message's turn. */
static void keep_pace(long number)
{
    double wait = rate > 0 ? start_time + number / rate - now() : 0;
    if (wait > 0)
        usleep(wait * 1e6);
}

static int send_message(struct connection *c, long number)
{
    keep_pace(number);
    char group[512];
    char domain[32] = "example.net";
    if (domains)
        snprintf(domain, sizeof domain, "d%ld.example", number % domains);
    int length = snprintf(group, sizeof group,
                          "MAIL FROM:<sender%ld@example.com>\r\nRCPT TO:<rcpt%ld@%s>\r\nDATA\r\n",
                          number % 1000, number, domain);
    if (say(c, group, length) || expect(c, 2) || expect(c, 2) || expect(c, 3))
        return -1;
    for (int i = 0; i < mark_count; i++) {
        char digits[16];
        snprintf(digits, sizeof digits, "%08ld", number % 100000000);
        memcpy(c->body + marks[i], digits, 8);
    }
    double start = now();
    if (say(c, c->body, body_length) || expect(c, 2))
        return -1;
    latencies[number] = now() - start;
    return 0;
}

static void *client(void *unused)
{
    struct connection *c = calloc(1, sizeof *c);
    c->body = memcpy(malloc(body_length), body, body_length);
    long number = atomic_fetch_add(&next_message, 1);
    while (number < messages && errors < 100) {
        if (open_connection(c)) {
            errors++;
            usleep(10000);
        } else {
            for (int sent = 0; sent < per_connection && number < messages; sent++) {
                if (send_message(c, number)) {
                    errors++;
                    break;
                }
                number = atomic_fetch_add(&next_message, 1);
            }
            if (!say(c, "QUIT\r\n", 6))
                reply(c);
        }
        close_connection(c);
    }
    return unused;
}

static void read_body(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        exit(2);
    }
    fseek(file, 0, SEEK_END);
    body = malloc(ftell(file));
    rewind(file);
    for (int c; (c = fgetc(file)) != EOF;)
        body[body_length++] = c;
    fclose(file);
    for (size_t i = 0; i + 8 <= body_length && mark_count < 64; i++)
        if (!memcmp(body + i, "@@@@@@@@", 8))
            marks[mark_count++] = i;
}

static void prepare(const char *user, const char *password, const char *content)
{
    unsigned char plain[512];
    char encoded[800];
    int length = snprintf((char *)plain, sizeof plain, "%c%s%c%s", 0, user, 0, password);
    EVP_EncodeBlock((unsigned char *)encoded, plain, length);
    snprintf(auth_line, sizeof auth_line, "AUTH PLAIN %s\r\n", encoded);
    if (*content == '/') {
        read_body(content);
        return;
    }

    size_t octets = atol(content);
    body = malloc(octets + 1024);
    body_length = sprintf(body, "From: Sender <sender@example.com>\r\nTo: Recipient <rcpt@example.net>\r\n"
                                "Subject: load\r\nDate: Sat, 21 Nov 2026 06:00:00 +0000\r\n"
                                "Message-ID: <load@example.com>\r\nMIME-Version: 1.0\r\n"
                                "Content-Type: text/plain; charset=utf-8\r\n\r\n");
    for (int line = 1; body_length < octets; line++)
        body_length += sprintf(body + body_length, "%s\r\n",
                               line % 40 ? "The quick brown fox jumps over the lazy dog and runs away 0123456789 again."
                                         : "..a line with a stuffed dot");
    memcpy(body + body_length, ".\r\n", 3);
    body_length += 3;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int count, char **arguments)
{
    if (count < 9 || count > 11) {
        fprintf(stderr, "usage: load PORT USER PASSWORD CONNECTIONS MESSAGES PER_CONNECTION OCTETS RESUME"
                        " [RATE [DOMAINS]]\n");
        return 2;
    }
    int connections = atoi(arguments[4]);
    port = atoi(arguments[1]);
    messages = atol(arguments[5]);
    per_connection = atoi(arguments[6]);
    resume = atoi(arguments[8]);
    rate = count > 9 ? atof(arguments[9]) : 0;
    domains = count > 10 ? atoi(arguments[10]) : 0;
    prepare(arguments[2], arguments[3], arguments[7]);
    latencies = calloc(messages, sizeof *latencies);
    signal(SIGPIPE, SIG_IGN);
    context = SSL_CTX_new(TLS_client_method());
    owner_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    if (resume)
        SSL_CTX_sess_set_new_cb(context, keep_session);

    pthread_t *threads = calloc(connections, sizeof *threads);
    start_time = now();
    for (int i = 0; i < connections; i++)
        pthread_create(&threads[i], NULL, client, NULL);
    for (int i = 0; i < connections; i++)
        pthread_join(threads[i], NULL);
    double seconds = now() - start_time;

    long done = 0;
    for (long i = 0; i < messages; i++)
        if (latencies[i] > 0)
            latencies[done++] = latencies[i];
    qsort(latencies, done, sizeof *latencies, ascending);
    printf("{\"messages\": %ld, \"errors\": %ld, \"seconds\": %.3f, \"p50_ms\": %.2f, \"p99_ms\": %.2f}\n", done,
           (long)errors, seconds, done ? latencies[done / 2] * 1e3 : 0, done ? latencies[done * 99 / 100] * 1e3 : 0);
    return errors ? 1 : 0;
}
