"""What the bot says in Russian."""

# ruff: noqa: RUF001 - Cyrillic is what Russian is written in

from __future__ import annotations

from collections.abc import Mapping

from infra.telegram.words import Command, Counted, Text

TEXTS: Mapping[Text, str] = {
    Text.START: (
        "Здравствуйте. Я продаю доступ к сети за USDT (TRC-20) и TON и передаю лицензию прямо сюда, как только платёж "
        "станет окончательным в блокчейне.\n\n{commands}"
    ),
    Text.PLANS: "<b>Тарифы</b>\n{plans}\n\n/buy — сделать заказ.",
    Text.PLAN_LINE: "<b>{plan}</b>: {days}, одновременно {devices}: {prices}",
    Text.NOTHING_SOLD: "Сейчас здесь ничего не продаётся.",
    Text.CHOOSE: "Что выберете и чем заплатите?",
    Text.CARD: (
        "<b>Заказ</b> <code>{order}</code>\n{plan}: {days}, одновременно {devices}\n<b>{state}</b>\n\n"
        "Отправьте ровно <code>{number}</code> {ticker} ({network}) на адрес\n<code>{address}</code>"
    ),
    Text.CARD_COMMENT: "с комментарием <code>{code}</code>",
    Text.CARD_UNTIL: (
        "Осталось {left}, до {until}. Важна каждая цифра суммы: по ней мы находим ваш платёж. Комиссия сети — сверх "
        "суммы."
    ),
    Text.CARD_PAID: "<b>Заказ</b> <code>{order}</code>\n{plan}: {days}, одновременно {devices}\n<b>{state}</b>",
    Text.CARD_SEEN: "В блокчейне видно: {amount}; засчитаем, когда платёж станет окончательным.",
    Text.QR: "Для камеры кошелька: {address}",
    Text.PAID_HOW: (
        "Достаточно заплатить, я увижу сам. Если заказ не движется, пришлите хеш транзакции: /paid <i>хеш</i>"
    ),
    Text.CLAIM_TAKEN: "Спасибо. Ищу эту транзакцию; заказ <code>{order}</code> изменится сам.",
    Text.CLAIM_REVIEW: "Эта транзакция не подходит к заказу <code>{order}</code> в точности, её посмотрит человек.",
    Text.CLAIM_SETTLED: "Заказ <code>{order}</code> уже оплачен.",
    Text.CLAIM_REFUSED: "Больше хешей для заказа <code>{order}</code> сейчас не приму. /support — написать человеку.",
    Text.BAD_HASH: "Это не хеш транзакции. Вставьте 64 знака (или ссылку), которые показывает кошелёк.",
    Text.ORDERS: "<b>Ваши заказы</b>\n{orders}",
    Text.ORDER_LINE: "<code>{order}</code> {plan}, {amount}: {state}",
    Text.NO_ORDERS: "Подходящего заказа у вас нет. /buy — сделать заказ.",
    Text.NO_SUCH_ORDER: "Такого заказа у вас нет. /orders — ваши заказы.",
    Text.CANCELLED: "Заказ <code>{order}</code> отменён. Пожалуйста, больше не оплачивайте его.",
    Text.CANNOT_CANCEL: "Заказ <code>{order}</code> уже нельзя отменить. /support — написать человеку.",
    Text.CANNOT_ORDER: "У вас слишком много неоплаченных заказов, или этот тариф больше не продаётся. /orders, /plans",
    Text.CHANGED: "Заказ <code>{order}</code>: {state}",
    Text.LICENCE: (
        "Заказ <code>{order}</code> оплачен. Вот ваша лицензия, действует до {until}, одновременно {devices}:\n\n"
        "<code>{licence}</code>\n\nСохраните её: кто ею владеет, тот может пользоваться."
    ),
    Text.SUPPORT: "Написать человеку: {contact}\nНазовите, пожалуйста, заказ; /orders — ваши заказы.",
    Text.NO_SUPPORT: "Пока больше некому написать. Ваши заказы: /orders",
    Text.LANGUAGE: "Теперь говорю по-русски. /language: in English.",
    Text.UNKNOWN: "Этого я не знаю. {commands}",
    Text.TRY_LATER: "Сейчас не могу заглянуть в книги. Попробуйте через минуту; ни один платёж не потеряется.",
    Text.WENT_WRONG: "У нас что-то сломалось, нам уже сообщили. Платежи не теряются. Попробуйте ещё раз.",
    Text.BUTTON_SPENT: "Кнопка уже нажата или устарела. /status покажет новую.",
    Text.COPY_AMOUNT: "Копировать сумму",
    Text.COPY_ADDRESS: "Копировать адрес",
    Text.COPY_COMMENT: "Копировать комментарий",
    Text.BUTTON_STATUS: "Проверить",
    Text.BUTTON_CANCEL: "Отменить",
    Text.STATE_NEW: "ждём ваш платёж",
    Text.STATE_PROCESSING: "платёж виден, ждём, пока он станет окончательным",
    Text.STATE_PARTIAL: "пришло {paid}, осталось {remainder}",
    Text.STATE_SETTLED: "оплачен",
    Text.STATE_EXPIRED: "время вышло, больше не оплачивайте; уже отправленное мы ещё ищем",
    Text.STATE_REVIEW: "деньги пришли, смотрит человек",
    Text.STATE_HOLD: "приостановлен, смотрит человек",
    Text.STATE_CANCELLED: "отменён",
    Text.STATE_REFUNDED: "деньги возвращены",
    Text.NOTE_OVER: "Пришло больше цены; /support",
    Text.NETWORK_TRON: "TRON, TRC-20",
    Text.NETWORK_TON: "TON",
}

COUNTED: Mapping[Counted, Mapping[str, str]] = {
    Counted.DEVICE: {
        "one": "{n} устройство",
        "few": "{n} устройства",
        "many": "{n} устройств",
        "other": "{n} устройства",
    }
}

COMMANDS: Mapping[Command, str] = {
    Command.PLANS: "что есть и сколько стоит",
    Command.BUY: "сделать заказ",
    Command.PAY: "как оплатить последний заказ",
    Command.PAID: "назвать транзакцию, если заказ не движется",
    Command.STATUS: "что с последним заказом",
    Command.ORDERS: "все ваши заказы",
    Command.CANCEL: "отменить последний заказ",
    Command.SUPPORT: "написать человеку",
    Command.LANGUAGE: "speak English",
}
